//! The managed bridge, addresses, resolver files, published ports and the agent's own nftables table.
