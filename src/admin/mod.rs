//! HTTP for everybody who may ask, and for targets that report themselves with a token; and a Unix
//! socket for those who may change something.
//!
//! Both answer from copies of the same state; orders go to the owner of the state as mail.

mod api;
mod inbound;
mod limit;
mod metrics;
mod socket;

pub use api::serve as serve_http;
pub use metrics::{Metrics, install as install_metrics};
pub use socket::{OrderAnswer, serve as serve_control};
