//! What the page in this folder says about drivers is what drivers do.

use crate::driver::{Dialogue, PATIENCE};
use crate::front;
use harness::shared_dir;
use serde_json::Value;

/// The requests and answers on the page.
fn conversation() -> Vec<(Value, Value)> {
    let page = include_str!("README.md");
    let (_, rest) = page.split_once("```text\n").expect("a conversation");
    let (lines, _) = rest.split_once("```").expect("its end");
    let said = |mark: &str| -> Vec<Value> {
        let lines = lines.lines().filter_map(|line| line.strip_prefix(mark));
        lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (requests, answers) = (said("> "), said("< "));
    assert_eq!(requests.len(), answers.len());
    requests.into_iter().zip(answers).collect()
}

/// Times differ, and messages.
fn is_alike(expected: &Value, got: &Value) -> bool {
    let fields = expected.as_object().expect("an object");
    fields.iter().all(|(name, value)| match name.as_str() {
        "at_ns" => got[name].is_u64(),
        "retry_after_s" => got[name].as_f64().is_some_and(|time| (3_500.0..=3_600.0).contains(&time)),
        "message" => got[name].is_string(),
        _ => got[name] == *value,
    })
}

#[test]
#[ignore = "cargo xtask test conformance"]
fn every_driver_answers_as_the_page_says() {
    for front in front::all() {
        let dir = shared_dir();
        let mut dialogue = Dialogue::start(&front, dir.path());
        for (request, mut expected) in conversation() {
            let fields = expected.as_object_mut().expect("an object");
            for (op, field, _) in front.silent {
                if request["do"] == *op && request.get("keep").is_some() {
                    fields.remove(if *field == "at" { "at_ns" } else { field });
                }
            }
            let mut rest = request.clone();
            rest.as_object_mut().expect("an object").remove("id");
            let (id, _) = dialogue.driver.ask(request["do"].as_str().expect("what to do"), rest);
            let line = dialogue.answer_to(id, PATIENCE).expect("a driver").expect("an answer");
            let got: Value = serde_json::from_str(&line.text).expect("JSON");
            assert!(is_alike(&expected, &got), "{}: expected {expected}, got {got}", front.name);
        }
    }
}
