import type { MaybePromise } from './hooks.ts'

/** What is wrong with a value, and where. */
export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a schema made of a value, or why it refuses it. */
export type SchemaResult<Output> = { readonly value: Output, readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] }

/** A schema of any library that has the Standard Schema interface, version 1 (standardschema.dev): zod, valibot, arktype and others. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => MaybePromise<SchemaResult<Output>>
    /** For the compiler only. */
    readonly types?: { readonly input: Input, readonly output: Output } | undefined
  }
}

/** The type of what goes into a schema: what is sent. */
export type SchemaInput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input']

/** The type of what a schema makes of it: what is received. */
export type SchemaOutput<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output']
