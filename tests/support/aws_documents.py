"""Policies as AWS's documentation writes them (IAM User Guide, "Example IAM identity-based policies")."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


def _document(*statements: dict[str, Any]) -> dict[str, Any]:
    """Return a document of statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


DOCUMENTS: Final[Mapping[str, dict[str, Any]]] = MappingProxyType(
    {
        "everything": _document({"Effect": "Allow", "Action": "*", "Resource": "*"}),
        "objects of one bucket": _document(
            {"Sid": "List", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": ["arn:aws:s3:::bucket"]},
            {"Sid": "Object", "Effect": "Allow", "Action": "s3:*Object", "Resource": ["arn:aws:s3:::bucket/*"]},
        ),
        "a home folder by user name": _document(
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": "arn:aws:s3:::bucket-name",
                "Condition": {"StringLike": {"s3:prefix": ["", "home/", "home/${aws:username}/*"]}},
            },
            {
                "Effect": "Allow",
                "Action": "s3:*",
                "Resource": ["arn:aws:s3:::bucket/home/${aws:username}", "arn:aws:s3:::bucket/home/${aws:username}/*"],
            },
        ),
        "instances by tag": _document(
            {
                "Effect": "Allow",
                "Action": ["ec2:StartInstances", "ec2:StopInstances"],
                "Resource": "arn:aws:ec2:*:*:instance/*",
                "Condition": {"StringEquals": {"aws:ResourceTag/Owner": "${aws:username}"}},
            },
            {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"},
        ),
        "tag keys of a set": _document(
            {
                "Effect": "Allow",
                "Action": "ec2:CreateTags",
                "Resource": "arn:aws:ec2:*:*:volume/*",
                "Condition": {
                    "ForAllValues:StringEquals": {"aws:TagKeys": ["environment", "cost-center"]},
                    "StringEqualsIfExists": {"aws:RequestTag/environment": ["preprod", "production"]},
                    "Null": {"aws:TagKeys": "false"},
                },
            }
        ),
        "only some regions": _document(
            {
                "Sid": "DenyAllOutsideRequestedRegions",
                "Effect": "Deny",
                "NotAction": ["cloudfront:*", "iam:*", "organizations:*", "route53:*", "support:*"],
                "Resource": "*",
                "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]}},
            }
        ),
        "only from some addresses": _document(
            {
                "Effect": "Deny",
                "Action": "*",
                "Resource": "*",
                "Condition": {
                    "NotIpAddress": {"aws:SourceIp": ["192.0.2.0/24", "203.0.113.0/24"]},
                    "Bool": {"aws:ViaAWSService": False},
                },
            }
        ),
        "between two dates": _document(
            {
                "Effect": "Allow",
                "Action": "service-prefix:ActionName",
                "Resource": "*",
                "Condition": {
                    "DateGreaterThan": {"aws:CurrentTime": "2020-04-01T00:00:00Z"},
                    "DateLessThan": {"aws:CurrentTime": "2020-06-30T23:59:59Z"},
                },
            }
        ),
        "rows by leading key": _document(
            {
                "Effect": "Allow",
                "Action": ["dynamodb:GetItem", "dynamodb:Query"],
                "Resource": ["arn:aws:dynamodb:us-west-2:123456789012:table/GameScores"],
                "Condition": {
                    "ForAllValues:StringEquals": {
                        "dynamodb:LeadingKeys": ["${www.amazon.com:user_id}"],
                        "dynamodb:Attributes": ["UserId", "GameTitle"],
                    },
                    "StringEqualsIfExists": {"dynamodb:Select": "SPECIFIC_ATTRIBUTES"},
                },
            }
        ),
        "only with a second factor": _document(
            {
                "Effect": "Deny",
                "NotAction": ["iam:CreateVirtualMFADevice", "sts:GetSessionToken"],
                "Resource": "*",
                "Condition": {
                    "BoolIfExists": {"aws:MultiFactorAuthPresent": "false"},
                    "NumericLessThanEquals": {"aws:MultiFactorAuthAge": 3600},
                },
            }
        ),
        "pass one role": _document(
            {
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": "arn:aws:iam::123456789012:role/S3Access",
                "Condition": {"ArnLike": {"iam:AssociatedResourceArn": "arn:aws:ec2:*:111122223333:instance/*"}},
            }
        ),
        "all but a bucket, in China": _document(
            {"Effect": "Allow", "Action": "s3:Get?bject*", "NotResource": ["arn:aws-cn:s3:::HRBucket/*"]}
        ),
        "the old language": {
            "Version": "2008-10-17",
            "Id": "cd3ad3d9-2776-4ef1-a904-4c229d1642ee",
            "Statement": {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": "*"},
        },
    }
)
