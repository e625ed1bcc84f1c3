/** The version of this package; a test keeps it equal to package.json. */
export const version: string = '0.1.0'
