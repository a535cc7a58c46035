//! Which client an address is.
//!
//! Whoever has an address of IPv6 mostly has a whole network of them, and a bucket for each would be
//! none. So addresses are taken together by network. An IPv4 address is itself, also where a
//! translator has written it into IPv6.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

/// How much of an address tells clients apart, in bits from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Networks {
    /// Of IPv4 addresses, 32 at most.
    pub ipv4_prefix: u8,
    /// Of IPv6 addresses, 128 at most.
    pub ipv6_prefix: u8,
}

impl Default for Networks {
    /// An address of IPv4, and of IPv6 the least that a provider gives one customer (RFC 6177).
    fn default() -> Self {
        Self { ipv4_prefix: 32, ipv6_prefix: 64 }
    }
}

impl Networks {
    /// The first address of the network that is this client's.
    #[must_use]
    pub fn of(self, address: IpAddr) -> IpAddr {
        let address = without_translation(address);
        let prefix = match address {
            IpAddr::V4(_) => self.ipv4_prefix,
            IpAddr::V6(_) => self.ipv6_prefix,
        };
        IpNet::new(address, prefix).map_or(address, |net| net.network())
    }
}

/// An IPv4 address in IPv6, mapped (RFC 4291) or translated by the well-known prefix (RFC 6052), as it is.
fn without_translation(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
                let [.., a, b, c, d] = v6.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            _ => IpAddr::V6(v6),
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests;
