//! Text → [`Config`], or every mistake at once, each with file:line:col and a snippet.
//!
//! `yaml` makes a tree with places, `read` fits it to the shapes in `spec`, `bind` resolves
//! names and limits into the `model`. Strings die here: past this folder nothing can be wrong.

mod bind;
mod conduct;
mod model;
mod policy;
pub mod read;
mod spec;
pub mod yaml;

pub use bind::{Surroundings, Unfit, control_socket, parse, parse_host_port, parse_status, parse_url};
pub use conduct::*;
pub use model::*;
pub use policy::{Country, GeoPolicy, GeoRule, Policy, Sticky, StickyPrefix, Who};
pub use spec::Span;
