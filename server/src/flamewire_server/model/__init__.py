"""The words of the field: selectors, labels, profile types, time ranges, tenants."""
