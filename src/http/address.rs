//! Which IP addresses are publicly routable.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why an address is refused, for [`HttpError::Host`](super::HttpError::Host).
pub(super) const NOT_PUBLIC: &str = "its address is private, local or reserved";

/// Whether `address` is publicly routable by IANA's registries of special addresses. An IPv6 address that embeds an
/// IPv4 address is treated as that address.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    // This network; carrier-grade NAT; IETF protocols, 6to4 relays; benchmarks; reserved, broadcast included.
    let reserved = matches!(
        address.octets(),
        [0 | 240..=255, ..] | [100, 64..=127, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..]
    );
    !(reserved
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Mapped, and translated by NAT64: connections end at the IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(joined(high, low)),
        // IETF protocols including Teredo; documentation, old and new; 6to4, which is obsolete.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] | [0x2002, ..] => false,
        // The only allocated global range. Loopback, unique-local, link-local, multicast and the rest are outside it.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p7_only_routable_addresses_are_public() {
        for (class, addresses) in [
            ("unspecified", "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0"),
            ("loopback", "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 ::ffff:7f00:1"),
            ("private", "10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 ::ffff:10.0.0.1"),
            ("link-local", "169.254.0.1 169.254.169.254 fe80::1 febf::1 ::ffff:169.254.169.254"),
            ("unique-local", "fc00::1 fd00:ec2::254 fdff:ffff::1"),
            ("site-local", "fec0::1"),
            ("carrier-grade NAT", "100.64.0.1 100.127.255.255 ::ffff:100.64.0.1"),
            ("multicast", "224.0.0.1 239.255.255.255 ff02::1 ff0e::1 ::ffff:224.0.0.1"),
            ("documentation", "192.0.2.1 198.51.100.1 203.0.113.1 2001:db8::1 3fff::1 3fff:fff::1 ::ffff:192.0.2.1"),
            ("protocols", "192.0.0.8 192.88.99.1 2001::1 2001:1ff::1 2002:808:808::1 100::1 5f00::1"),
            ("benchmarks", "198.18.0.1 198.19.255.255 2001:2::1"),
            ("the future", "240.0.0.1 255.255.255.255 4000::1 e000::1"),
            ("old wraps", "::8.8.8.8 ::127.0.0.1 ::ffff:0:8.8.8.8 64:ff9b::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1"),
        ] {
            for address in addresses.split(' ') {
                assert!(!is_public(address.parse().unwrap()), "{class}: {address}");
            }
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2600::1",
            "3ffe::1",
            "2a00:1450::1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
