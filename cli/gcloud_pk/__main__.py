from gcloud_pk.main import run

run()
