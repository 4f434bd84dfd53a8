"""The building: power, cooling, network and racks as a graph, and what it withstands. Pure."""
