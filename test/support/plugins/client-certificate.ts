// Of no worth outside these tests: a certificate that a TLS client presents, signed by itself, so that a server which is to
// accept it names it as its own authority. Made with OpenSSL (prime256v1, CN=device-17), valid for a hundred years.

/** The certificate of the Client `device-17`, PEM. */
export const clientCertificate = `-----BEGIN CERTIFICATE-----
MIIBlTCCATqgAwIBAgIUU+w9oY7QRHo/cpcnqdltaO0CqwowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJZGV2aWNlLTE3MCAXDTI2MTEyMjE1Mjg0M1oYDzIxMjYxMDI5
MTUyODQzWjAUMRIwEAYDVQQDDAlkZXZpY2UtMTcwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARzqD5JI7a6GeLNVFzqThbt3+tqB0gKNEOQRvxHN7hdHkcPRsI6cvN5
PSZ6Xrp4B/coBwyCUbXmGVaOEPHCJQXLo2gwZjAdBgNVHQ4EFgQUgImJ9YtOQsEb
Ye+ksEPuy3MR24swHwYDVR0jBBgwFoAUgImJ9YtOQsEbYe+ksEPuy3MR24swDwYD
VR0TAQH/BAUwAwEB/zATBgNVHSUEDDAKBggrBgEFBQcDAjAKBggqhkjOPQQDAgNJ
ADBGAiEAy0k9Cxyt4VpyfjartDkjGP12kRs98U604KpTNtLvVF8CIQDwpn/q710I
PR/b98xT/oHt+jcjxXJ50PQxdkTFX6ptCQ==
-----END CERTIFICATE-----
`

/** The private key of {@link clientCertificate}, PEM. */
export const clientKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg2NQlR0A4P0j+VhM+
Vxh2r8jJEtdKKO774QuM027vYKqhRANCAARzqD5JI7a6GeLNVFzqThbt3+tqB0gK
NEOQRvxHN7hdHkcPRsI6cvN5PSZ6Xrp4B/coBwyCUbXmGVaOEPHCJQXL
-----END PRIVATE KEY-----
`
