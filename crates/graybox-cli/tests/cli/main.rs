//! The command as its users meet it: every subcommand, with good and with bad input. A file for each.

#![cfg(unix)]

mod desk;

mod broken_off;
mod check;
mod evaluate;
mod export;
mod help;
mod init;
mod interchange;
mod predict;
mod race;
mod report;
mod serve;
mod train;
