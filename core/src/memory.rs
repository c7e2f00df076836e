#![allow(missing_docs)]

use crate::{key::Key, lease::*};
use bytes::Bytes;
use std::time::Duration;
pub struct Memory;
impl Memory {
    pub fn new(_: u64) -> Self {
        todo!()
    }
    pub fn get(&self, _: &Key) -> Option<Bytes> {
        todo!()
    }
    pub fn lookup(&self, _: &Key, _: Duration) -> Lookup {
        todo!()
    }
    pub fn set(&self, _: &Key, _: Bytes, _: Duration, _: Option<&LeaseToken>) -> bool {
        todo!()
    }
    pub fn delete(&self, _: &[Key]) -> u64 {
        todo!()
    }
    pub fn delete_by_prefix(&self, _: &str) -> u64 {
        todo!()
    }
    pub fn clear(&self) -> u64 {
        todo!()
    }
    pub fn entries(&self) -> u64 {
        todo!()
    }
    pub fn bytes(&self) -> u64 {
        todo!()
    }
}
