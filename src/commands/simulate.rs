//! `tidegate simulate`: runs the simulators of the vendors until it is interrupted.

use std::fmt::Write as _;

use super::{Context, Exit, SimulateArgs, output};
use simulator::{Options, Simulator};

pub(crate) async fn run(context: Context, args: SimulateArgs) -> anyhow::Result<Exit> {
    if !(args.speed.is_finite() && args.speed > 0.0) {
        return Err(super::CommandError::Usage(format!("--speed {} must be above 0", args.speed)).into());
    }
    let options = Options {
        listen: args.listen,
        advertise: args.advertise,
        speed: args.speed,
        hide_future: true,
        ..Options::default()
    };
    let simulator = simulator::start(options.clone()).await.map_err(|error| {
        super::CommandError::failed(
            format!("cannot listen on {}: {error}", args.listen),
            "choose another address with --listen",
        )
    })?;
    let blocks: String = blocks(&options, &simulator).iter().map(Block::text).collect();
    output::print(&format!(
        "{blocks}limits are the documented ones, their periods divided by {}; statistics at {}/_sim/stats\n\
         Ctrl-C stops it\n",
        args.speed,
        simulator.base_url(),
    ))?;
    context.cancel.cancelled().await;
    simulator.stop().await;
    Ok(Exit::Done)
}

/// The configuration of a connection to one vendor.
struct Block {
    title: &'static str,
    /// The connection's keys.
    keys: Vec<(&'static str, String)>,
}

/// The vendors that can be connected to. A vendor with exports needs `allowed_hosts: [HOST:PORT]` with the host and
/// port of `files_url`. Lexer also needs `clients_url` as its `status_base_url`.
fn blocks(options: &Options, simulator: &Simulator) -> Vec<Block> {
    let Options { lynn, khoros, lexer, jaicp, .. } = options;
    let files = simulator.files_url().trim_start_matches("http://").to_owned();
    vec![
        Block {
            title: "Lynn Reporting",
            keys: vec![
                ("vendor", "lynn_reporting".to_owned()),
                ("base_url", simulator.base_url()),
                ("tenant", lynn.tenant.to_string()),
                ("access_token", format!("{}          # of the simulator, not a secret", lynn.access_token)),
                ("access_token_secret", lynn.access_token_secret.clone()),
            ],
        },
        Block {
            title: "Lynn Outbound",
            keys: vec![
                ("vendor", "lynn_outbound".to_owned()),
                ("base_url", simulator.base_url()),
                ("tenant", lynn.tenant.to_string()),
                ("access_token", lynn.access_token.clone()),
                ("access_token_secret", lynn.access_token_secret.clone()),
                ("enabled_streams", "[campaigns, contacts, dnd_contacts]".to_owned()),
            ],
        },
        Block {
            title: "Khoros Care",
            keys: vec![
                ("vendor", "khoros_care".to_owned()),
                ("base_url", format!("{}/api/public", simulator.base_url())),
                ("allowed_hosts", format!("[\"{files}\"]")),
                ("company_key", khoros.company_key.clone()),
                ("username", khoros.username.clone()),
                ("password", format!("{}          # of the simulator, not a secret", khoros.password)),
            ],
        },
        Block {
            title: "Lexer Activity",
            keys: vec![
                ("vendor", "lexer_activity".to_owned()),
                ("base_url", simulator.base_url()),
                ("status_base_url", simulator.clients_url()),
                ("allowed_hosts", format!("[\"{files}\"]")),
                ("api_token", format!("{}          # of the simulator, not a secret", lexer.api_token)),
            ],
        },
        Block {
            title: "JAICP Reporter",
            keys: vec![
                ("vendor", "jaicp_reporter".to_owned()),
                ("base_url", format!("{}/api", simulator.base_url())),
                ("token", format!("{}          # of the simulator, not a secret", jaicp.token)),
            ],
        },
    ]
}

impl Block {
    fn text(&self) -> String {
        let url = self.keys.iter().find(|(key, _)| *key == "base_url").map_or("", |(_, url)| url);
        let mut text = format!("{}  {url}\n", self.title);
        for (key, value) in &self.keys {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {key}: {value}");
        }
        text
    }
}
