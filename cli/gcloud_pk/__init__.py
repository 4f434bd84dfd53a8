"""gcloud-pk: a government provisions its own cloud, onboards its ministries, and proves their isolation."""

__version__ = "0.1.0"
