//! The vendors by name, and what the common code needs from each.

use serde::{Deserialize, Serialize};

use super::World;
use super::call::Gateway;
use super::truth::Reports;

/// Lynn Outbound belongs to Lynn: gateway and limits are shared, the data is separate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    #[default]
    Lynn,
    LynnOutbound,
    Khoros,
    Lexer,
    Jaicp,
}

impl Vendor {
    /// Every gateway, without duplicates.
    pub const ALL: [Self; 4] = [Self::Lynn, Self::Khoros, Self::Lexer, Self::Jaicp];
}

impl World {
    pub(super) fn gateway(&self, vendor: Vendor) -> &Gateway {
        match vendor {
            Vendor::Lynn | Vendor::LynnOutbound => &self.lynn.gateway,
            Vendor::Khoros => &self.khoros.gateway,
            Vendor::Lexer => &self.lexer.gateway,
            Vendor::Jaicp => &self.jaicp.gateway,
        }
    }

    pub(super) fn data(&self, vendor: Vendor) -> &Reports {
        match vendor {
            Vendor::Lynn => &self.lynn.data,
            Vendor::LynnOutbound => &self.lynn.outbound.data,
            Vendor::Khoros => &self.khoros.data,
            Vendor::Lexer => &self.lexer.data,
            Vendor::Jaicp => &self.jaicp.data,
        }
    }

    /// Whether a vendor compresses for clients that accept it.
    pub(super) fn compresses(&self, vendor: Vendor) -> bool {
        match vendor {
            Vendor::Lynn | Vendor::LynnOutbound => self.lynn.shape().gzip,
            Vendor::Khoros | Vendor::Lexer | Vendor::Jaicp => self.options.gzip,
        }
    }
}
