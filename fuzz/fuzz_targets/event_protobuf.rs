//! Events in protobuf form: refused, or turned into JSON that says the same and turns back into
//! the same message.
#![no_main]

use events::{Document, Event, protobuf};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = protobuf::read(data) else { return };
    let json = document.to_json();
    let again = Document::read(json.as_bytes()).expect("its JSON is JSON");
    assert_eq!(again.members(), document.members());
    if let Ok((event, _)) = Event::of(&document, fuzz::NOW, fuzz::NOW) {
        let written = protobuf::write(&document).expect("a good event can be written");
        assert!(protobuf::is_meant(&written));
        let back = protobuf::read(&written).expect("what was written can be read");
        assert_eq!(Event::of(&back, fuzz::NOW, fuzz::NOW).map(|(event, _)| event), Ok(event));
    }
});
