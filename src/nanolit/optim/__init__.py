"""How parameters change: one optimizer object of AdamW and Muon groups, rules that form the groups, schedules."""
