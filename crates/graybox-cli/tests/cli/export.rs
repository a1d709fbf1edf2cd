//! `graybox export`, and a policy that comes back.

use crate::desk::Desk;

#[test]
fn export_needs_a_format_and_a_run() {
    let desk = Desk::with_run();
    desk.refused(2, "export run", &["--onnx <FILE>"]);
    desk.refused(2, "export none --onnx p.onnx", &["no policy.json in "]);
    desk.refused(
        1,
        "export run --onnx no/p.onnx",
        &["cannot write no/p.onnx"],
    );
    desk.refused(
        1,
        "export run --safetensors no/p.safetensors",
        &["no/p.safetensors"],
    );
    let said = desk.ok("export run --onnx p.onnx --pytorch-layout p.safetensors");
    assert_eq!(said, "wrote p.onnx\nwrote p.safetensors\n");
}

#[test]
fn a_policy_that_left_in_pytorch_layout_comes_back_to_be_continued() {
    let desk = Desk::with_run();
    desk.ok("export run --pytorch-layout p.safetensors");
    let train =
        "train run.toml --calls 16 --out more --policy p.safetensors --policy-layout pytorch";
    desk.ok(train);
    let after = desk.json("run/summary.json")["true_loss_after"]
        .as_f64()
        .unwrap();
    let before = desk.json("more/summary.json")["true_loss_before"]
        .as_f64()
        .unwrap();
    assert!((after - before).abs() < 1e-9 * after, "{after} {before}");
}
