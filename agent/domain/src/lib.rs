//! Ids, validated specs, states and the pure planner.
