//! Ledger, reconciler, ports and events; knows neither tonic nor Linux.
