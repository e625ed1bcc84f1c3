// Of no worth outside these tests: an authority that nobody trusts, and a certificate of it for localhost and 127.0.0.1.
// Made with OpenSSL (prime256v1), valid for a hundred years.

/** The authority's certificate, PEM. */
export const testAuthority = `-----BEGIN CERTIFICATE-----
MIIBlzCCAT2gAwIBAgIUJHbqFOo+N9Zwa7Q2YNiGVy0J9FIwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVTXllbGluIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMjE1MTgz
NVoYDzIxMjYxMDI5MTUxODM1WjAgMR4wHAYDVQQDDBVNeWVsaW4gdGVzdCBhdXRo
b3JpdHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR27lzMPWBKN0oPVqzFRrZS
IwJ581TETQAGiDFIeVPwEtDDpuYDdCi+tmYxJWpsmXQllxN39pe/u+Qm+noywJI6
o1MwUTAdBgNVHQ4EFgQUxT6FPp8/Gfxk+3m0bhcj5tHrUhMwHwYDVR0jBBgwFoAU
xT6FPp8/Gfxk+3m0bhcj5tHrUhMwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD
AgNIADBFAiAwymF7KKb5FmHozsYxCjxW1Yd6Jh6/7n2teXqO98CS7QIhAK+gpuDN
0y1MpxRo6gTw/8hVyJtCa0WTdV7Gpu3spbne
-----END CERTIFICATE-----
`

/** A certificate for localhost and 127.0.0.1, PEM. */
export const testCertificate = `-----BEGIN CERTIFICATE-----
MIIBlTCCATygAwIBAgIUX5Sz+qCZ64onYK+lKebSZAI7kiIwCgYIKoZIzj0EAwIw
IDEeMBwGA1UEAwwVTXllbGluIHRlc3QgYXV0aG9yaXR5MCAXDTI2MTEyMjE1MTgz
NVoYDzIxMjYxMDI5MTUxODM1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcq
hkjOPQIBBggqhkjOPQMBBwNCAAQI/YvxdBt3DDfS1LSBQufy6n0DLD5sAkKoz9/X
qeWusgTk/G5ORV66eZTVfVsq1T58jaToY3Osh4OeFHL2UA5bo14wXDAaBgNVHREE
EzARgglsb2NhbGhvc3SHBH8AAAEwHQYDVR0OBBYEFIjhFteM6oR6HeNgdFH0b4eG
jdklMB8GA1UdIwQYMBaAFMU+hT6fPxn8ZPt5tG4XI+bR61ITMAoGCCqGSM49BAMC
A0cAMEQCIB67WnhZICApNFlKVryOCTf3RW4glFnjb3KZ5W653xpxAiBvYeFjBgx/
4vOq6Ip5LRxXparfsFg3tZZ7IcQAe8qnqg==
-----END CERTIFICATE-----
`

/** The private key of {@link testCertificate}, PEM. */
export const testKey = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg4FmrhU824FrzjAXQ
yogdf481Oc1LHH+RS1OG0c6OtPOhRANCAAQI/YvxdBt3DDfS1LSBQufy6n0DLD5s
AkKoz9/XqeWusgTk/G5ORV66eZTVfVsq1T58jaToY3Osh4OeFHL2UA5b
-----END PRIVATE KEY-----
`
