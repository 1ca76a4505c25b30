package settings

// Known is for tests.
func Known() []string { return known }
