//! What came of a run, as one HTML file: it opens from a disk, asks no network for anything, and is printed as it is read.
//!
//! In reading order:
//!
//! * [`Report`]: all that is shown of one run, in plain structs. What could not be found out is a [`Part::Missing`] that says why.
//! * [`Comparison`]: several runs beside each other.
//! * [`Plot`]: lines over the steps of a run. [`Shown`]: a picture as it lies in the file.
//! * [`Report::to_html`], [`Comparison::to_html`]: the page.
//!
//! Names of files and classes, and values of settings, may hold anything. All text goes through one function that makes of it what a
//! page shows and nothing that a page does (`escape.rs`), and the page's policy lets no script run but its own, and nothing be fetched.
//!
//! Not here: how anything is found out; there is no model and no file in this crate. No framework draws the page: its script is a
//! file that can be read, and without it every table and picture is there as well.
//!
//! ```
//! use simmim_report::{Fact, Kind, Report};
//!
//! let report = Report {
//!     name: "<b>first</b>".to_owned(),
//!     facts: vec![Fact::new("held-out loss", "0.1345")],
//!     ..Report::empty(Kind::PreTraining)
//! };
//! let page = report.to_html();
//! assert!(page.contains("&lt;b&gt;first&lt;/b&gt;") && page.contains("0.1345"));
//! ```

mod content;
mod escape;
mod page;
mod shown;
mod thin;

pub use content::{
    Calibration, ClassCount, ClassRow, Comparison, DataPage, Different, Fact, Kind, LabelPage,
    Line, Look, Map, MapPoint, Mistake, Neighbours, Part, Plot, Point, Report, Sample, Setting,
    Shot, Summary,
};
pub use shown::Shown;
