/** What vectors.json holds. */

/** JSON with the marks that the notes of vectors.json explain. */
export type Wire = string | number | boolean | null | Wire[] | { [name: string]: Wire }

export interface Call {
  secret: Wire
  secretHex?: string | null
  context: Wire
  params: Wire
  userId: Wire
  rev: Wire
}

export interface Vector {
  name: string
  canonical: string
  key: string | null
}

export interface Reject {
  name: string
  js?: string
  expressibleIn: string[]
}

export interface Vectors {
  vectors: (Call & Vector)[]
  rejects: (Call & Reject)[]
  contexts: { accept: string[]; reject: string[] }
}

/** What a Worker made of them. */
export interface Results {
  vectors: Vector[]
  rejects: { name: string; code: string }[]
  contexts: [context: string, result: string][]
}
