#!/bin/sh
# Lists EC2 instances as a user that may only do that, and that exists only while the commands run.
#
#     ./describe-instances.sh [REGION]
#
# It uses the AWS credentials that boto3 finds, the `dynsecrets` command and the AWS CLI.
set -eu
cd "$(dirname "$0")"
AWS_REGION="${1:-us-east-1}"
export AWS_REGION

# As the leased user under the names that every AWS SDK reads.
dynsecrets run --aws -- \
  aws ec2 describe-instances --output table --query "Reservations[].Instances[].InstanceId"

# The same without --aws: the shell sets the two names itself.
# shellcheck disable=SC2016  # The inner shell expands them.
dynsecrets run -- sh -c '
  echo "$AWS_USER_USERNAME until $AWS_USER_LEASE_EXPIRATION"
  AWS_ACCESS_KEY_ID=$AWS_USER_ACCESS_KEY_ID \
  AWS_SECRET_ACCESS_KEY=$AWS_USER_SECRET_ACCESS_KEY \
  aws ec2 describe-instances --output text --query "Reservations[].Instances[].InstanceId"
'
