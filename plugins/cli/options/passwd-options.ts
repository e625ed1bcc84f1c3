// What `myelin passwd` can be told; the letters are those of mosquitto_passwd.

/** What is done to which file. */
export const passwdOptions = {
  file: { kind: 'path', only: 'argument', help: 'The file of users.' },
  username: { kind: 'text', only: 'argument', help: 'Whose password it is.' },
  password: { kind: 'payload', only: 'argument', help: 'With -b. Other users of the machine can see it in the list of processes.' },
  create: { kind: 'flag', short: 'c', only: 'commandLine', help: 'Make the file. One that is there is left alone, and that is an error.' },
  delete: { kind: 'flag', short: 'D', only: 'commandLine', help: 'Delete the user.' },
  batch: { kind: 'flag', short: 'b', only: 'commandLine', help: 'The password is an argument.' },
  hashPlain: { kind: 'flag', short: 'U', only: 'commandLine', help: 'Hash each password that stands in the file as it is.' },
  hash: { kind: 'choice', short: 'H', choices: ['scrypt', 'sha512-pbkdf2'], only: 'commandLine', help: 'scrypt, which is the default, or sha512-pbkdf2 ($7$), which Mosquitto reads as well.' },
  scram: { kind: 'flag', only: 'commandLine', help: 'Write what scramFile reads, for SCRAM-SHA-256.' },
  help: { kind: 'flag', short: 'h', only: 'commandLine', help: 'Print this.' },
} as const

/** All options of `myelin passwd`. */
export type PasswdOptions = typeof passwdOptions
