//! The program as a user meets it: real processes, in a folder of their own, on images drawn here.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod ablate;
mod attentive;
mod bad_checkpoints;
mod bad_images;
mod bad_settings;
mod bench;
mod browser;
mod by_tcp;
mod clocks;
mod commands;
mod cost;
mod doctor;
mod drawn;
mod export;
mod features;
mod finetune;
mod folders;
mod gpu;
mod help;
mod hosts;
mod json;
mod kills;
mod labels;
mod launchers;
mod lowshot;
mod old_runs;
mod pack;
mod pages;
mod passed_over;
mod ranks;
mod report;
mod resume;
mod sandbox;
mod sensors;
mod shared_work;
mod sources;
mod stops;
mod strace;
mod survey;
mod talk;
mod weights;
