module gcloud.gov.pk/gcloud-pk/programs/own

go 1.26.0
