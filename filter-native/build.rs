//! How the module is linked.

fn main() {
    // Tests run outside Envoy, which has the functions that the module calls: there is a stand-in for them (`fake`).
    println!("cargo:rerun-if-changed=build.rs");
    // What Envoy lacks is looked for by name when the module is loaded, so that it can be said, not when it is linked in.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,lazy");
}
