//! rmac
