//! Events as publishers write them: refused or understood, and what is understood can be stored.
#![no_main]

use events::{Document, Event, protobuf};
use libfuzzer_sys::fuzz_target;
use model::push;
use model::state::State;

fuzz_target!(|data: &[u8]| {
    match Event::parse(data, fuzz::NOW) {
        Ok(event) => {
            let mut state = State::default();
            state.merge(event.register);
            let wire = push::State::from(&state);
            assert!(State::try_from(wire).is_ok_and(|read| read == state));
            // The same in the other form.
            let document = Document::read(data).expect("it was read before");
            if let Ok(bytes) = protobuf::write(&document)
                && let Ok(read) = protobuf::read(&bytes)
            {
                let event = Event::of(&document, fuzz::NOW, fuzz::NOW).map(|(event, _)| event);
                assert_eq!(Event::of(&read, fuzz::NOW, fuzz::NOW).map(|(event, _)| event), event);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
