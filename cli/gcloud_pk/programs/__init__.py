"""Programs that gcloud-pk does not bring along: which ones, where they come from, and images made of them."""
