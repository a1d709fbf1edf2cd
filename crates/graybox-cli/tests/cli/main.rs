//! The command as its users meet it: every subcommand, with good and with bad input. A file for each.

#![cfg(unix)]

mod desk;

mod broken_off;
mod browser;
mod check;
mod evaluate;
mod export;
mod help;
mod init;
mod interchange;
#[cfg(feature = "parquet")]
mod parquet;
mod predict;
mod race;
mod readme;
mod report;
mod report_in_browser;
mod seeds;
mod serve;
mod train;
mod um_bridge;
