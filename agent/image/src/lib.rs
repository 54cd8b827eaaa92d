//! References, the registry client, import, the object store, the merge and collection.
