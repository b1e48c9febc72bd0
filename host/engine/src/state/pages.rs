//! Pager: reads ranges of the store that may be long, one page after the other.

use crate::ports::{Entry, Store, StoreError};

/// Largest number of entries in a page.
const PAGE_SIZE: usize = 1000;

/// The entries whose keys start with a prefix, in the order of their keys, in pages.
pub struct Pages<'a> {
    store: &'a dyn Store,
    prefix: &'a str,
    after: Option<String>,
    has_ended: bool,
}

impl<'a> Pages<'a> {
    /// Creates a pager, which begins with the first entry.
    pub fn new(store: &'a dyn Store, prefix: &'a str) -> Self {
        Self { store, prefix, after: None, has_ended: false }
    }

    /// Returns the next page, which is not empty; `None` after the last one.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Entry>>, StoreError> {
        if self.has_ended {
            return Ok(None);
        }
        let page = self.store.range(self.prefix, self.after.as_deref(), PAGE_SIZE).await?;
        self.has_ended = page.len() < PAGE_SIZE;
        self.after = page.last().map(|last| last.key.clone());
        Ok(self.after.is_some().then_some(page))
    }

    /// Returns all entries that start with a prefix, in the order of their keys.
    ///
    /// # Errors
    /// Fails if the store does not answer.
    pub async fn collect(store: &dyn Store, prefix: &str) -> Result<Vec<Entry>, StoreError> {
        let (mut pages, mut entries) = (Pages::new(store, prefix), Vec::new());
        while let Some(page) = pages.next_page().await? {
            entries.extend(page);
        }
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::ports::{SystemClock, Transaction, Write};
    use crate::testing::MemoryStore;

    #[tokio::test]
    async fn a_range_of_any_length_is_read_once_and_in_order() {
        for count in [0, 1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE] {
            let store = MemoryStore::new(Arc::new(SystemClock));
            let put = |key| Write::Put { key, value: Vec::new(), lease: None };
            let inside = (0..count).map(|number| put(format!("in/{number:06}")));
            let writes = inside.chain(["im", "in", "io"].map(|key| put(key.into()))).collect();
            store.commit(Transaction { compares: Vec::new(), writes }).await.unwrap();
            let read: Vec<_> =
                Pages::collect(&store, "in/").await.unwrap().into_iter().map(|entry| entry.key).collect();
            assert_eq!(read, (0..count).map(|number| format!("in/{number:06}")).collect::<Vec<_>>());
            let mut pages = Pages::new(&store, "in/");
            while let Some(page) = pages.next_page().await.unwrap() {
                assert!((1..=PAGE_SIZE).contains(&page.len()));
            }
            assert!(pages.next_page().await.unwrap().is_none());
        }
    }
}
