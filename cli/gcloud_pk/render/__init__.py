"""Pure functions from a Tenant to manifests: same input, same bytes."""
