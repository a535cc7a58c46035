use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;
use crate::request::client_network;
use crate::request::testing::Plain;

fn network(text: &str) -> Option<String> {
    let found = client_network(&Plain::default().from(text), Networks::default());
    found.map(|text| String::from_utf8(text).unwrap())
}

#[test]
fn addresses_have_one_spelling() {
    for (given, expected) in [
        ("10.0.0.1:80", Some("10.0.0.1")),
        ("10.0.0.1", Some("10.0.0.1")),
        ("[::ffff:10.0.0.1]:80", Some("10.0.0.1")),
        ("[64:ff9b::10.0.0.1]:80", Some("10.0.0.1")),
        ("[64:ff9b:1::10.0.0.1]:80", Some("64:ff9b:1::")),
        ("[2001:DB8::1]:443", Some("2001:db8::")),
        ("[2001:db8:1:2:3:4:5:6]:443", Some("2001:db8:1:2::")),
        ("[::1]:443", Some("::")),
        ("/tmp/socket", None),
    ] {
        assert_eq!(network(given).as_deref(), expected, "{given}");
    }
}

proptest! {
    /// Two addresses are one client's if, and only if, they begin with the same bits.
    #[test]
    fn clients_are_told_apart_by_the_front_of_their_addresses(
        one: u128, flip in 0..128u32, ipv4_prefix in 8..=32u8, ipv6_prefix in 16..=128u8,
    ) {
        let networks = Networks { ipv4_prefix, ipv6_prefix };
        let one = one | 1 << 127;
        let other = one ^ 1 << (127 - flip);
        let of = |bits: u128| networks.of(IpAddr::V6(Ipv6Addr::from_bits(bits)));
        let is_translated = |bits: u128| bits >> 32 == 0xffff || bits >> 127 == 0;
        if !is_translated(other) {
            prop_assert_eq!(of(one) == of(other), flip >= u32::from(ipv6_prefix));
        }
        let [.., a, b, c, d] = one.to_be_bytes();
        let v4 = u32::from_be_bytes([a, b, c, d]);
        let flip = flip % 32;
        let of = |bits: u32| networks.of(IpAddr::V4(Ipv4Addr::from_bits(bits)));
        prop_assert_eq!(of(v4) == of(v4 ^ 1 << (31 - flip)), flip >= u32::from(ipv4_prefix));
        let mapped = IpAddr::V6(Ipv4Addr::from_bits(v4).to_ipv6_mapped());
        prop_assert_eq!(networks.of(mapped), of(v4));
    }
}
