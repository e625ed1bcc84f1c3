export { deriveScramCredentials, scramSha256, type ScramCredentials, type ScramOptions } from './scram-sha-256.ts'
export { formatScramCredentials, scramFile, type ScramFile, type ScramFileOptions } from './scram-file.ts'
