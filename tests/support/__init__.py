"""What tests, the campaign of faults and the benchmarks make beside the lab."""
