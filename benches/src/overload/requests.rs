//! Clients of an HTTP server whose worker processes share a limiter. A client that has waited too long disconnects, and the
//! server drops its request.

use harness::Job;
use harness::load::client::{Part, arrive_as_tasks, patience};
use http::{Request, Response};
use shm_tower::{Admitted, Mode, OnError, RateLimitLayer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use tower::{Layer, ServiceExt, service_fn};

/// Runs one worker process of the server; each client is a task.
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
            let mut response = pin!(service.oneshot(Request::new(())));
            let response = match tokio::time::timeout(patience, response.as_mut()).await {
                Ok(response) => response,
                // The request is already admitted: the client waits for the response.
                Err(_) if sheet.is_admitted(client) => response.await,
                Err(_) => return,
            };
            if !response.is_ok_and(|response| response.status().is_success()) {
                sheet.failed(client);
            }
        }
    });
}
