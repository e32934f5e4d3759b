//! Clients of an HTTP server whose worker processes share a limiter. A client that has waited for too long goes away, and its
//! request is dropped.

use harness::Job;
use harness::load::client::{Part, arrive_as_tasks, patience};
use http::{Request, Response};
use shm_tower::{Admitted, Mode, OnError, RateLimitLayer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

/// This process is one worker of the server, and each client is a task.
pub(crate) fn run(job: &Job) {
    let Part { limit, sheet, hold } = Part::of(job);
    let (sheet, patience) = (Arc::new(sheet), patience(job));
    let layer = RateLimitLayer::new(limit, Mode::Wait, OnError::FailClosed);
    arrive_as_tasks(job, &sheet.clone(), move |client| {
        let served = sheet.clone();
        let service = layer.layer(service_fn(move |request: Request<()>| {
            let sheet = served.clone();
            async move {
                let admitted = request.extensions().get::<Admitted>().expect("an admitted request");
                sheet.admitted(client, admitted.at.as_nanos());
                tokio::time::sleep(hold).await;
                sheet.released(client);
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        }));
        let sheet = sheet.clone();
        async move {
            let mut answer = pin!(service.oneshot(Request::new(())));
            let answer = match tokio::time::timeout(patience, answer.as_mut()).await {
                Ok(answer) => answer,
                // The client waits for the rest of an answer that has begun.
                Err(_) if sheet.is_admitted(client) => answer.await,
                Err(_) => return,
            };
            if !answer.is_ok_and(|answer| answer.status().is_success()) {
                sheet.failed(client);
            }
        }
    });
}
