//! Generates the messages in `proto/` without needing `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let compile = |file| protox::compile([file], ["proto"]);
    // A key's secret must not show: `push.rs` says what does.
    let secretive = [".portcullis.push.v1.SigningKey"];
    prost_build::Config::new().skip_debug(secretive).compile_fds(compile("push.proto")?)?;
    prost_build::Config::new().compile_fds(compile("event.proto")?)?;
    // What it uses of the other file is generated already.
    let known = (".portcullis.push.v1", "crate::push");
    let mut node = prost_build::Config::new();
    node.extern_path(known.0, known.1).compile_fds(compile("node.proto")?)?;
    Ok(())
}
