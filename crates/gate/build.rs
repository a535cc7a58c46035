//! Generates the messages of `proto/` without needing `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pushed = "../model/proto";
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed={pushed}");
    let messages = protox::compile(["node.proto", "fleet.proto"], ["proto", pushed])?;
    // What it uses of the other file is generated already.
    let known = (".portcullis.push.v1", "::model::push");
    prost_build::Config::new().extern_path(known.0, known.1).compile_fds(messages)?;
    Ok(())
}
