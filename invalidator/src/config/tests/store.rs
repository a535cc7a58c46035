use std::path::PathBuf;

use store::WitnessPlace;

use super::super::Config;

const POLL: &str = "[poll]\nlisten = \"unix:/run/poll.sock\"\nsecret = \"0123456789abcdef\"\n";

const TOKENS: &str = "[[api.tokens]]\nname = \"ops\"\nrole = \"operator\"\nhash = \
    \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

#[test]
fn the_directory_is_required_and_absolute() {
    let store = "[store]\ndirectory = \"/var/lib/portcullis\"\n";
    let config = Config::parse(&format!("{POLL}{store}{TOKENS}"));
    let config = config.unwrap();
    assert_eq!(config.store.directory.to_str(), Some("/var/lib/portcullis"));
    assert_eq!(config.store.witness, WitnessPlace::Beside);
    for (value, witness) in
        [("false", WitnessPlace::Off), ("\"/w\"", WitnessPlace::File(PathBuf::from("/w")))]
    {
        let config = Config::parse(&format!("{POLL}{store}witness = {value}\n{TOKENS}"));
        assert_eq!(config.unwrap().store.witness, witness);
    }
    let cases = [
        ("", "config: missing field `store`"),
        ("[store]", "store: missing field `directory`"),
        ("[store]\ndirectory = \"\"", "store.directory: must be an absolute path"),
        ("[store]\ndirectory = \"here\"", "store.directory: must be an absolute path"),
        (
            "[store]\ndirectory = \"/x\"\nwitness = \"/x/y\"",
            "store.witness: must be an absolute path outside store.directory, or false",
        ),
        ("[store]\ndirectory = \"/x\"\nwitness = true", "store.witness: must be an absolute path"),
        ("[store]\ndirectory = \"/x\"\nwitness = \"y\"", "store.witness: must be an absolute"),
        ("[store]\ndirectory = \"/x\"\nsync = false", "store.sync: unknown field `sync`"),
    ];
    for (more, message) in cases {
        let error = Config::parse(&format!("{POLL}{more}\n{TOKENS}")).unwrap_err().to_string();
        assert!(error.starts_with(message), "{more:?}: {error}");
    }
}
