//! What a machine offers, by `simmim doctor`.

use std::process::Command;

use serde_json::Value;

use crate::gpu::fake_gpu;
use crate::sandbox::Sandbox;

fn told(sandbox: &Sandbox, libraries: Option<&str>) -> Value {
    let mut command = sandbox.command("doctor --json");
    if let Some(folder) = libraries {
        command.env("LD_LIBRARY_PATH", folder);
    }
    let ran = command.output().unwrap();
    assert!(ran.status.success());
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn a_machine_is_described_with_or_without_a_gpu() {
    let sandbox = Sandbox::new();
    let found = told(&sandbox, None);
    assert!(
        found["cores"].as_u64().unwrap() > 0 && found["memory_bytes"].as_u64().unwrap() > 1 << 28
    );
    assert!(
        found["disk_free_bytes"].is_u64() && found["level"].is_string(),
        "{found}"
    );
    let usual = &found["default"];
    assert_eq!(usual["threads"], found["cores"]);
    assert!(
        ["fp32", "bf16"].contains(&usual["precision"].as_str().unwrap()),
        "{found}"
    );
    let has_gpu = !found["gpus"].as_array().unwrap().is_empty();
    assert_eq!(found["no_gpu"].is_string(), !has_gpu, "{found}");
    let table = sandbox.simmim("doctor").ok().stdout;
    for said in [
        "cores",
        "instructions",
        "memory",
        "disk",
        "GPU",
        "MPI",
        "a run uses",
        "because",
    ] {
        assert!(table.contains(said), "no `{said}` in {table}");
    }
}

#[test]
fn the_mpi_library_is_named_where_there_is_one() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("doctor --json");
    command.env("SIMMIM_MPI", "/nowhere/libmpi.so");
    let ran = command.output().unwrap();
    let found: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert!(found["mpi"].is_null(), "{found}");
    let found = told(&sandbox, None);
    let has_launcher = Command::new("mpirun").arg("--version").output().is_ok();
    if has_launcher {
        assert!(found["mpi"].as_str().unwrap().contains("MPI"), "{found}");
    }
}

#[test]
fn a_gpu_is_described_with_its_libraries() {
    let Some(folder) = fake_gpu("a_gpu_is_described_with_its_libraries") else {
        return;
    };
    let found = told(&Sandbox::new(), Some(&folder));
    let gpu = &found["gpus"][0];
    assert_eq!(
        (&gpu["device"], &gpu["refusal"]),
        (&Value::from("cuda:0"), &Value::Null)
    );
    assert!(
        gpu["memory_bytes"].as_u64().unwrap() > 1 << 20 && gpu["name"].is_string(),
        "{found}"
    );
    let libraries = found["libraries"].as_array().unwrap();
    let is_there = |name: &str| {
        libraries
            .iter()
            .any(|it| it["name"] == name && it["found"] == true)
    };
    assert!(is_there("driver") && is_there("cuBLASLt"), "{found}");
    let table = Command::new(env!("CARGO_BIN_EXE_simmim"))
        .arg("doctor")
        .env("LD_LIBRARY_PATH", &folder)
        .output();
    let table = String::from_utf8(table.unwrap().stdout).unwrap();
    assert!(
        table.contains("GPU cuda:0") && table.contains("the GPU is not used"),
        "{table}"
    );
}
