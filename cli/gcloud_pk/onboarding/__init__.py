"""The main job: which tenants go to this cluster, and how they get there, stay there and leave."""
