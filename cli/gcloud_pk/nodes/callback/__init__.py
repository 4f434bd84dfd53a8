"""Plugins that Ansible loads by their path; nothing of gcloud-pk imports them."""
