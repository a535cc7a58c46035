//! What this Envoy is called. The ABI tells streams alone, and polls begin before there is one, so only the command line
//! is looked at.

use std::fs;

/// The name that Envoy was started with.
pub(crate) fn id() -> Option<String> {
    named(&fs::read("/proc/self/cmdline").ok()?)
}

/// What stands after `--service-node`, in a command line whose words end with zero bytes.
fn named(line: &[u8]) -> Option<String> {
    const OPTION: &str = "--service-node";
    let mut words = line.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    let name = words.find_map(|word| match word.strip_prefix(OPTION)? {
        "" => Some(None),
        rest => rest.strip_prefix('=').map(Some),
    })?;
    let name = name.or_else(|| words.next())?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_is_called_as_the_command_line_says() {
        let named = |line: &str| named(line.replace(' ', "\0").as_bytes());
        assert_eq!(named("envoy --service-node edge-1 -c x"), Some("edge-1".into()));
        assert_eq!(named("envoy -c x --service-node=edge-1"), Some("edge-1".into()));
        for without in
            ["envoy", "envoy --service-node", "envoy --service-node=", "--service-nodes x"]
        {
            assert_eq!(named(without), None, "{without}");
        }
    }
}
