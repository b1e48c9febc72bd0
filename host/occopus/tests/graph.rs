//! Drawings of the observed state.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use occopus::engine::ports::Address;
use occopus::engine::{InfrastructureState, InstanceState, InstanceStatus, NodeStatus, Status};
use occopus::graph::{self, TooLarge, anchor, svg_of_status};

fn instance(state: InstanceState, address: &str) -> InstanceStatus {
    InstanceStatus {
        id: "5f5b7b5e-0000-0000-0000-000000000000".into(),
        state,
        driver: "local".into(),
        addresses: vec![Address { value: address.into(), internal: false }],
        attributes: Vec::new(),
        message: None,
        health: None,
        failing_since: None,
        unobserved: None,
        changed: Vec::new(),
        stale: Vec::new(),
        created: Timestamp::UNIX_EPOCH,
        since: Timestamp::UNIX_EPOCH,
        seconds_to_running: None,
        seconds_to_ready: None,
    }
}

fn node(name: &str, needs: &[&str], instances: Vec<InstanceStatus>) -> NodeStatus {
    NodeStatus {
        name: name.into(),
        node_type: "server".into(),
        depends_on: needs.iter().map(|name| (*name).to_owned()).collect(),
        target: instances.len() as u32,
        min: 1,
        max: 10,
        instances,
        failing: None,
    }
}

fn status(nodes: Vec<NodeStatus>) -> Status {
    Status {
        id: "one".parse().expect("an id"),
        name: "one & only".into(),
        state: InfrastructureState::Ready,
        message: None,
        suspended: false,
        owner: None,
        created: Timestamp::UNIX_EPOCH,
        nodes,
    }
}

#[test]
fn states_are_words_and_bad_instances_come_first() {
    let mut many: Vec<_> = (0..6).map(|at| instance(InstanceState::Ready, &format!("10.0.0.{at}"))).collect();
    many.push(instance(InstanceState::Unhealthy, "10.0.0.9"));
    let svg = svg_of_status(&status(vec![node("a", &[], Vec::new()), node("b", &["a"], many)])).expect("a drawing");
    let position = |text: &str| svg.find(text).unwrap_or_else(|| panic!("no {text} in {svg}"));
    assert!(position(">10.0.0.9<") < position(">10.0.0.0<"), "{svg}");
    assert!(!svg.contains(">10.0.0.3<"), "{svg}");
    for text in ["6 of 7 ready", ">unhealthy<", "and 4 more", "b, server: unhealthy, 6 of 7 ready, needs a", ">none<"] {
        position(text);
    }
    assert_eq!(svg.matches("class=\"arrow\"").count(), 1);
}

#[test]
fn hostile_names_are_escaped_and_nothing_is_a_style() {
    let hostile = "</text><script>alert('\"')</script>\u{1b}";
    let svg = svg_of_status(&status(vec![node(hostile, &[], vec![instance(InstanceState::Ready, hostile)])]));
    let svg = svg.expect("a drawing");
    assert!(!svg.contains("<script") && !svg.contains("style") && !svg.contains('\u{1b}'), "{svg}");
    assert!(svg.contains("aria-label=\"The nodes of one &amp; only"), "{svg}");
    assert!(anchor(hostile).bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_ne!(anchor("a_b"), anchor("a b"));
    assert_ne!(anchor("a_20_b"), anchor("a b"));
}

#[test]
fn an_empty_graph_is_a_drawing() {
    assert!(svg_of_status(&status(Vec::new())).expect("a drawing").starts_with("<svg"));
}

#[test]
fn large_graphs_are_refused_before_they_take_long() {
    let names: Vec<_> = (0..=graph::MAX_DRAWN_NODES).map(|at| format!("n{at}")).collect();
    let all = |count: usize, needs: fn(usize) -> Vec<usize>| {
        let node = |at: usize| {
            let needs: Vec<_> = needs(at).into_iter().map(|needed| names[needed].as_str()).collect();
            node(&names[at], &needs, vec![instance(InstanceState::Ready, "10.0.0.1")])
        };
        status((0..count).map(node).collect())
    };
    let began = Instant::now();
    assert_eq!(svg_of_status(&all(501, |_| Vec::new())), Err(TooLarge::Nodes(501)));
    let each_of_all = svg_of_status(&all(100, |at| (0..at).collect()));
    assert_eq!(each_of_all, Err(TooLarge::Dependencies(4950)));
    for needs in [
        (|at| if at == 0 { Vec::new() } else { vec![0] }) as fn(usize) -> Vec<usize>,
        |at| if at == 0 { Vec::new() } else { vec![at - 1] },
        |at| if at < 50 { Vec::new() } else { vec![at - 50, at / 50 * 50 - 50 + at * 7 % 50] },
    ] {
        let svg = svg_of_status(&all(500, needs)).expect("a drawing");
        assert_eq!(svg.matches("class=\"box\"").count(), 500);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}
