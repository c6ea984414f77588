//! Sinks of usage: told of as they are, paused by operators alone and by their name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::world::run;
use crate::admin::{Sinks, Switch};
use crate::meter::Backlog;
use crate::sink::{Guarantee, Queue, State, Status, Tally, Trouble, TroubleKind};
use crate::time::Timestamp;

/// One webhook, which is paused as it is told.
pub(super) fn hooks() -> Sinks {
    let is_paused = Arc::new(AtomicBool::new(false));
    let switched = Arc::clone(&is_paused);
    Sinks {
        statuses: Box::new(move || [Queue::Usage, Queue::Events].map(|queue| status(queue, &is_paused)).into()),
        switch: Box::new(move |_, to| switched.store(to == Switch::Pause, Ordering::Relaxed)),
    }
}

fn status(queue: Queue, is_paused: &AtomicBool) -> Status {
    let trouble =
        Trouble { kind: TroubleKind::Credentials, words: "the answer has status 401".into(), retry_after: None };
    let at = Timestamp::from_unix_ms(1_782_907_200_000);
    Status {
        sink: "hooks".parse().unwrap(),
        kind: "webhook",
        queue,
        guarantee: Guarantee::AtLeastOnce,
        state: State::Retrying,
        is_paused: is_paused.load(Ordering::Relaxed),
        backlog: (queue == Queue::Events).then_some(Backlog { waiting: 2, oldest: Some(at), set_aside: 1 }),
        tally: Tally { taken: 5, failures: 1, trouble: Some((at, trouble)), ..Tally::default() },
    }
}

#[test]
fn sinks_are_told_of_with_all_their_queues() {
    run(async |world| {
        let sinks = world.ask("GET /v1/sinks", Value::Null).await.expect(200)["sinks"].clone();
        let [sink] = sinks.as_array().unwrap().as_slice() else { panic!("{sinks}") };
        let told = [&sink["name"], &sink["type"], &sink["paused"], &sink["alarm"]];
        assert_eq!(told, [&json!("hooks"), &json!("webhook"), &json!(false), &json!(true)]);
        let (usage, events) = (&sink["queues"][0], &sink["queues"][1]);
        assert_eq!(
            (&usage["queue"], &usage["waiting"], &usage["set_aside"]),
            (&json!("usage"), &Value::Null, &Value::Null)
        );
        assert_eq!(
            (&events["state"], &events["waiting"], &events["set_aside"]),
            (&json!("retrying"), &json!(2), &json!(1))
        );
        assert!(events["lag_seconds"].as_f64().unwrap() > 0.0);
        assert_eq!(events["guarantee"], "at_least_once");
        let trouble =
            json!({"at": "2026-07-01T12:00:00Z", "kind": "credentials", "detail": "the answer has status 401"});
        assert_eq!(events["trouble"], trouble);
    });
}

#[test]
fn a_pause_is_in_the_audit_log_and_one_that_cannot_be_is_none() {
    run(async |world| {
        let paused = async || world.ask("GET /v1/sinks", Value::Null).await.expect(200)["sinks"][0]["paused"].clone();
        let told = world.ask("POST /v1/sinks/hooks/pause", Value::Null).await.expect(200);
        assert_eq!((&told["sink"]["paused"], paused().await), (&json!(true), json!(true)));
        let row = world.rows().pop().unwrap();
        assert_eq!((row.action.as_str(), row.target.as_deref(), row.revision), ("sink.pause", Some("hooks"), None));
        world.store.fail();
        world.ask("POST /v1/sinks/hooks/resume", Value::Null).await.refused(503, "unavailable");
        world.store.recover();
        assert_eq!(paused().await, true);
        world.ask("POST /v1/sinks/hooks/resume", Value::Null).await.expect(200);
        assert_eq!(paused().await, false);
        world.ask("POST /v1/sinks/nobody/pause", Value::Null).await.refused(404, "not_found");
        assert_eq!(world.rows().pop().unwrap().action, "sink.resume");
    });
}
