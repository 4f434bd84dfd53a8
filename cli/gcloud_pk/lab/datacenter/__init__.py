"""A data centre in a box: bare nodes over three racks, a site `lab-dc` that names them, and a registry of images."""
