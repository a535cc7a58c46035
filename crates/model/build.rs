//! Generates the messages of `proto/push.proto` without needing `protoc` on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let messages = protox::compile(["push.proto"], ["proto"])?;
    // Secrets must not show: `push.rs` says what does.
    let secretive = [".portcullis.push.v1.SigningKey", ".portcullis.push.v1.FleetKey"];
    prost_build::Config::new().skip_debug(secretive).compile_fds(messages)?;
    Ok(())
}
